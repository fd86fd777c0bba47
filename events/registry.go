package events

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Payload is the data of an event as a Go struct, always of the current schema
// version of its type.
type Payload interface {
	EventType() Type
}

// Upcaster lifts the JSON data of one schema version to that of the next.
type Upcaster func(data json.RawMessage) (json.RawMessage, error)

// Registry knows every event type, its schema versions and its Go struct. It is
// filled by [NewRegistry] and not changed afterwards.
type Registry struct {
	types map[Type]registration
}

type registration struct {
	zero      Payload
	upcasters []Upcaster // the first lifts version 1 to 2, and so on
	decode    func(json.RawMessage) (Payload, error)
}

// NewRegistry returns the registry of all of Carelog's event types.
func NewRegistry() *Registry {
	r := &Registry{types: map[Type]registration{}}
	registerUser(r)
	registerPatient(r)
	registerDoctor(r)
	registerMapping(r)
	registerLog(r)
	return r
}

// register adds the event type of P. Its current schema version is one more
// than the number of upcasters.
func register[P Payload](r *Registry, upcasters ...Upcaster) {
	var zero P
	r.types[zero.EventType()] = registration{
		zero:      zero,
		upcasters: upcasters,
		decode: func(data json.RawMessage) (Payload, error) {
			var p P
			if err := json.Unmarshal(data, &p); err != nil {
				return nil, err
			}
			return p, nil
		},
	}
}

// Types lists every registered event type, sorted.
func (r *Registry) Types() []Type {
	var types []Type
	for t := range r.types {
		types = append(types, t)
	}
	slices.Sort(types)
	return types
}

// Version is the current schema version of a type, 0 for an unknown one.
func (r *Registry) Version(t Type) int {
	registered, known := r.types[t]
	if !known {
		return 0
	}
	return len(registered.upcasters) + 1
}

// Zero is an empty payload of a type, nil for an unknown one: whoever describes
// payloads goes by its Go struct.
func (r *Registry) Zero(t Type) Payload { return r.types[t].zero }

// Encode turns a payload into the type, schema version and data of an event.
func (r *Registry) Encode(p Payload) (Type, int, json.RawMessage, error) {
	t := p.EventType()
	version := r.Version(t)
	if version == 0 {
		return "", 0, nil, &UnknownTypeError{Type: t}
	}
	data, err := json.Marshal(p)
	if err != nil {
		return "", 0, nil, fmt.Errorf("encode %s: %w", t, err)
	}
	return t, version, data, nil
}

// Decode returns the payload of an event, lifted to the current schema version
// of its type. It answers an [UnknownTypeError] for what a newer program wrote.
func (r *Registry) Decode(e Event) (Payload, error) {
	registered, known := r.types[e.Type]
	current := len(registered.upcasters) + 1
	if !known || e.SchemaVersion < 1 || e.SchemaVersion > current {
		return nil, &UnknownTypeError{Type: e.Type, SchemaVersion: e.SchemaVersion}
	}
	data := e.Data
	for version := e.SchemaVersion; version < current; version++ {
		lifted, err := registered.upcasters[version-1](data)
		if err != nil {
			return nil, fmt.Errorf("upcast %s from schema version %d: %w", e.Type, version, err)
		}
		data = lifted
	}
	payload, err := registered.decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode %s, schema version %d: %w", e.Type, e.SchemaVersion, err)
	}
	return payload, nil
}
