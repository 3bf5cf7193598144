//! Requests from the outside, against a made-up API server.
