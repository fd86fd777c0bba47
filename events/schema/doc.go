// Package schema holds what tools are told about events: a JSON Schema (2020-12) for
// the data of every event type and schema version, one for the CloudEvent around it,
// and an AsyncAPI 3.0 document of the ways to get them. The program serves them under
// /api/events/, in the same layout.
//
//	schemas/patient.registered.v1.json  $id urn:carelog:schema:patient.registered:v1
//	schemas/cloudevent.json             $id urn:carelog:schema:cloudevent
//	asyncapi.json                       all of them once more, so that one file is enough
//	published.json                      what the schemas demand; see below
//
// The files are made by make generate (the program in gen), of the registry in package
// events, the comments beside its structs, the golden files, and the contract in
// package cloudevent. A new event type needs nothing here.
//
// # What may change
//
// The schema of a version describes what logs hold for ever, and programs of others
// are made of it: once published it never changes, but for the words (title,
// description, examples). published.json has what was published, and the tests fail
// where a schema demands something else. A change is a new version: the struct changes,
// an upcaster lifts the old data, and the generator writes a file for the new version
// and leaves that of the old one alone. The schema of the CloudEvent has no
// versions; it may get further attributes that need not be there.
//
// What no release contains yet may still change: take it out of published.json, and
// generate again.
//
// The schemas allow fields that they do not name, since subscribers must not fail on
// what they do not know. They demand what is true of every event of the version and no
// more: limits that may move one day, such as how long a name is or which genders there
// are, are for the API to check.
package schema

//go:generate go run ./gen
