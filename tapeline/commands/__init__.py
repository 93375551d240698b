"""The commands of `tapeline`, by what they are for."""
