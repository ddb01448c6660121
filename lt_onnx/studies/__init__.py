"""What can be asked of the construction itself: its statistics, its theory, its frontier."""
