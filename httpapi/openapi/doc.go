// Package openapi holds the OpenAPI 3.1 document of the REST API, which the server
// answers at /api/openapi.json and /api/openapi.yaml.
//
//	openapi.yaml  written by hand, for people; comments and all
//	openapi.json  made of it by make generate (the program in gen), for tools
//
// # How it stays true
//
// Tests in package httpapi compare the document with the table of routes: a path or a
// method that is served and not described fails, and so does one that is described and
// not served. [openapitest] stands before the handler of those tests, and in the client
// of the program's tests: each answer that any test sees must be one that the document
// has: status, headers, media type, and body with no field that is not described. The
// examples are held against their schemas, and the document against that of OpenAPI.
//
// A new route needs its path here. A status, header or field that an answer gets needs
// its place, or the first test that sees it fails and names it.
//
// # What it says once
//
// HEAD goes wherever GET goes, OPTIONS everywhere, and every path answers with and
// without its final slash. Listed for each path that would be sixty operations that no
// client asks for by name, and each would become a method of generated clients. So the
// description tells of HEAD and slashes, components/pathItems/EveryPath has OPTIONS, and
// the tests take them for described. A path stands here as the README has it.
//
// Headers that every answer carries for browsers' sake are in the description alone; all
// others are with the answers that have them.
//
// A 3.1 document has no word for what a stream consists of: x-item-schema is the schema
// of a line, or of the data of a Server-Sent Event, and is what itemSchema is in 3.2.
//
// [openapitest]: https://pkg.go.dev/github.com/carelog/carelog/httpapi/openapi/openapitest
package openapi

//go:generate go run ./gen
