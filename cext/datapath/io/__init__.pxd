"""Where frames come from and go to beside links: the TAP, and the uplink's NIC."""
