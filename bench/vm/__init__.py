"""Does zero copy pay over a card? A guest under QEMU without KVM, the servers in it, and what follows."""
