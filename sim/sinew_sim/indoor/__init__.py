"""Files of indoor navigation data sets (HM3D and Habitat's episodes), read and written without Habitat."""
