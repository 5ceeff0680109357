//! Checked document plus inventory to one complete, immutable bundle for a node.
