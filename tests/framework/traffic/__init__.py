"""Traffic that is checked: streams, datagrams, frames."""
