"""Trees of sysfs as drivers make them, written by builders, for what reads devices without a vendor's library."""
