"""robomimic's own learners on episodes that sinew recorded."""
