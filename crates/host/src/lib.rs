//! Everything that touches the Linux kernel, and a fake of it that prints itself.
