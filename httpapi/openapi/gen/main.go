// Program gen makes openapi.json of openapi.yaml, in the working directory.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
)

func main() {
	if err := generate(); err != nil {
		fmt.Fprintln(os.Stderr, "make openapi.json:", err)
		os.Exit(1)
	}
}

func generate() error {
	source, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return err
	}
	document, err := toJSON(source)
	if err != nil {
		return fmt.Errorf("openapi.yaml: %w", err)
	}
	return os.WriteFile("openapi.json", document, 0o644)
}

// toJSON keeps the order of what it is given.
func toJSON(source []byte) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(source, &root); err != nil {
		return nil, err
	}
	dense, err := appendNode(nil, &root)
	if err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, dense, "", "  "); err != nil {
		return nil, err
	}
	indented.WriteByte('\n')
	return indented.Bytes(), nil
}

func appendNode(dst []byte, node *yaml.Node) ([]byte, error) {
	switch node.Kind {
	case yaml.DocumentNode:
		return appendNode(dst, node.Content[0])
	case yaml.MappingNode:
		return appendMapping(dst, node)
	case yaml.SequenceNode:
		dst = append(dst, '[')
		for i, element := range node.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendNode(dst, element); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case yaml.ScalarNode:
		return appendScalar(dst, node)
	}
	return nil, fmt.Errorf("line %d: write it out: anchors and aliases are for no reader", node.Line)
}

func appendMapping(dst []byte, node *yaml.Node) ([]byte, error) {
	dst = append(dst, '{')
	for i := 0; i < len(node.Content); i += 2 {
		if i > 0 {
			dst = append(dst, ',')
		}
		key, value := node.Content[i], node.Content[i+1]
		if key.ShortTag() != "!!str" {
			return nil, fmt.Errorf("line %d: put the key %s in quotes", key.Line, key.Value)
		}
		for j := 0; j < i; j += 2 {
			if node.Content[j].Value == key.Value {
				return nil, fmt.Errorf("line %d: %s is there twice", key.Line, key.Value)
			}
		}
		var err error
		if dst, err = appendScalar(dst, key); err != nil {
			return nil, err
		}
		dst = append(dst, ':')
		if dst, err = appendNode(dst, value); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func appendScalar(dst []byte, node *yaml.Node) ([]byte, error) {
	var value any
	if err := node.Decode(&value); err != nil {
		return nil, fmt.Errorf("line %d: %w", node.Line, err)
	}
	switch value.(type) {
	case nil, string, bool, int:
	default:
		return nil, fmt.Errorf("line %d: put %s in quotes", node.Line, node.Value)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("line %d: %w", node.Line, err)
	}
	return append(dst, bytes.TrimSpace(text.Bytes())...), nil
}
