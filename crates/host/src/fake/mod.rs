//! A kernel in memory that prints itself in the words of `ip` and `nft`.
