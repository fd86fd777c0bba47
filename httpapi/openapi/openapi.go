package openapi

import _ "embed" // of the documents

// JSON is the document for tools. It must not be changed.
//
//go:embed openapi.json
var JSON []byte

// YAML is the document for people. It must not be changed.
//
//go:embed openapi.yaml
var YAML []byte
