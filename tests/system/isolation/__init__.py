"""Who may see, send and do what; and those who try more."""
