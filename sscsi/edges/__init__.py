"""The adapters behind the ports: everything that touches the kernel, the disk or a socket."""
