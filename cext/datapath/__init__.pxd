"""The loop that moves frames, in the order of its layers: state, frame, link, io, loop."""
