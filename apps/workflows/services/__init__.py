"""Everything that writes workflows."""
