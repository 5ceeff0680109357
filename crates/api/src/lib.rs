//! HTTP and JSON types, and the client, over the unix socket.
