"""Images of a gel pad that an object is pressed into, without a physics engine."""
