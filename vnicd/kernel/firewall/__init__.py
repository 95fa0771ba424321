"""The kernel's packet filter: rules, what others have in our way, news of changes, tracked connections."""
