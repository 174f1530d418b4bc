"""What every trainer does around its learning."""
