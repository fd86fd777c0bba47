package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// envelopeFile is the only schema that has no version, and may get more attributes.
const envelopeFile = "cloudevent.json"

// demands is a schema without what only explains it: the words may change.
func demands(schema any) any {
	keywords, ok := schema.(map[string]any)
	if !ok {
		return schema
	}
	left := map[string]any{}
	for keyword, value := range keywords {
		switch keyword {
		case "title", "description", "examples", "$comment":
		case "properties":
			named := map[string]any{}
			for name, property := range value.(map[string]any) {
				named[name] = demands(property)
			}
			left[keyword] = named
		case "items", "additionalProperties":
			left[keyword] = demands(value)
		default:
			left[keyword] = value
		}
	}
	return left
}

// publish adds the schemas that are new to what was published.
func publish(published map[string]any, schemas map[string]json.RawMessage) error {
	for name, text := range schemas {
		if published[name] != nil {
			continue
		}
		var schema any
		if err := json.Unmarshal(text, &schema); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		published[name] = demands(schema)
	}
	return nil
}

// broken tells of every published schema that is gone, or demands something else now.
func broken(published map[string]any, schemas map[string]json.RawMessage) error {
	var told []string
	for _, name := range slices.Sorted(maps.Keys(published)) {
		var schema any
		if err := json.Unmarshal(schemas[name], &schema); err != nil {
			told = append(told, name+": it is gone, bring it back")
			continue
		}
		for _, change := range changes("", published[name], demands(schema), name == envelopeFile) {
			told = append(told, name+": "+change)
		}
	}
	if told == nil {
		return nil
	}
	return fmt.Errorf(`subscribers rely on what was published, and this changed:
  %s
Leave the version as it was and register the change as a new one, with an upcaster (see "Versions" in events/doc.go).
What no release contains yet may change: take it out of events/schema/published.json, and make generate`, strings.Join(told, "\n  "))
}

// changes lists where a schema is not what it was. An open one may have more properties.
func changes(path string, was, is any, open bool) []string {
	before, both := was.(map[string]any)
	now, isObject := is.(map[string]any)
	if !both || !isObject {
		if reflect.DeepEqual(was, is) {
			return nil
		}
		return []string{fmt.Sprintf("%s was %s and is %s", path, text(was), text(is))}
	}
	names := maps.Clone(before)
	maps.Copy(names, now)
	var all []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if _, known := before[name]; !known && open && path == "properties" {
			continue
		}
		all = append(all, changes(strings.TrimPrefix(path+"/"+name, "/"), before[name], now[name], open)...)
	}
	return all
}

func text(value any) string {
	if value == nil {
		return "absent"
	}
	encoded, err := encode(value)
	if err != nil {
		return err.Error()
	}
	return string(encoded)
}
