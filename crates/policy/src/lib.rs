//! People's files to checked documents: parse, check, lint, explain.
