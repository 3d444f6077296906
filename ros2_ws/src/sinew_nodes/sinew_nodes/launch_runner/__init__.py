"""Runs XML launch files where the `launch` package is absent: the same files, the same command lines.

document       XML with line numbers, and the table of tags and attributes
substitutions  $(var …), $(find-pkg-share …), …
packages       look-ups in the ament index
scope          what a group encloses: arguments, environment, namespace, parameters, remaps
interpreter    a file and its arguments → a plan; every mistake is found before anything starts
node_command   a <node> → its command line
plan           frozen description of what to run
process        one child: spawn, output, signals
supervisor     runs a plan: respawn, required processes, shutdown
console        prefixed coloured lines
command        `sinew launch`
"""
