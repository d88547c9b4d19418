//! HTTP types, problem documents, OpenAPI and client of the coordinator.
