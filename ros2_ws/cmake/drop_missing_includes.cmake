# Drops include directories that do not exist from every imported target, once, before generation.
#
# Interface packages that were built on another machine (binary wheels) export the builder's own Python and NumPy
# include directories; CMake refuses to generate with those. Each interface package finds Python and NumPy by
# itself, so nothing is lost. Where all directories exist (a distribution's ROS 2) this does nothing.
if(DEFINED PROJECT_IS_TOP_LEVEL AND NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()

function(_drop_missing_includes)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT includes)
      continue()
    endif()
    set(kept "")
    foreach(directory IN LISTS includes)
      if(directory MATCHES "\\$<" OR EXISTS "${directory}")
        list(APPEND kept "${directory}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
  endforeach()
endfunction()

# Deferred to the end of the top directory: after every find_package, before generation.
cmake_language(DEFER CALL _drop_missing_includes)
