//! The nouns of the product: names, labels, selectors, identities, drop reasons.
