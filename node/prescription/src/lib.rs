//! Renders the XAdES parts of an electronic prescription's signature as canonical bytes from typed fields.
