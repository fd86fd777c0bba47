package cloudevent

import (
	"strconv"

	"github.com/carelog/carelog/events"
)

// TypeOf is the attribute type of events of this type and schema version.
func TypeOf(t events.Type, version int) string {
	return typePrefix + string(t) + ".v" + strconv.Itoa(version)
}

// SchemaOf is their attribute dataschema.
func SchemaOf(t events.Type, version int) string {
	return schemaPrefix + string(t) + ":v" + strconv.Itoa(version)
}

// EnvelopeSchema is the $id of the JSON Schema of the document itself.
const EnvelopeSchema = schemaPrefix + "cloudevent"
