// Package openapitest holds answers that tests see against the OpenAPI document.
//
// [Handler] and [Transport] stand where a package's tests make their requests, and fail
// the test that saw an answer which the document does not have. An answer must have a
// status, headers and a media type that its operation names, and a body of the schema,
// which is taken more strictly than clients should: a field that is not described is a
// mistake, unless the schema says that there are others.
package openapitest

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/carelog/carelog/httpapi/openapi"
)

type object = map[string]any

// Document is an OpenAPI document.
type Document struct {
	root       object
	compiler   *jsonschema.Compiler
	responses  map[string]*response // by where they stand
	operations []Operation
	everyPath  Operation // OPTIONS
}

// Operation is what can be done with a path.
type Operation struct {
	ID     string
	Method string
	Path   string // as it is described, like /api/patients/{id}/

	segments  []segment
	responses map[int]*response
}

// Describes tells whether there is an answer with this status.
func (o Operation) Describes(status int) bool { return o.responses[status] != nil }

// segment is a part of a path between slashes.
type segment struct {
	literal  string
	variable bool
	digits   bool // of a variable
}

type response struct {
	headers map[string]header // by canonical name
	content map[string]media  // by media type
}

type header struct {
	required bool
	integer  bool
	schema   *jsonschema.Schema
}

type media struct {
	schema *jsonschema.Schema
	item   *jsonschema.Schema // of what a stream consists of; nil for what is no stream
}

// Carelog is the document that is served.
var Carelog = sync.OnceValues(func() (*Document, error) { return parse(openapi.JSON) })

const here = "urn:openapi"

func parse(text []byte) (*Document, error) {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	root, _ := parsed.(object)
	closeObjects(root)
	d := &Document{root: root, compiler: jsonschema.NewCompiler(), responses: map[string]*response{}}
	d.compiler.AssertFormat()
	// Django's idea of an e-mail address is another than that of RFC 5321.
	d.compiler.RegisterFormat(&jsonschema.Format{Name: "email", Validate: func(any) error { return nil }})
	if err := d.compiler.AddResource(here, root); err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	for path := range d.at("/paths") {
		if err := d.addPath(path); err != nil {
			return nil, err
		}
	}
	d.everyPath, err = d.operation("/components/pathItems/EveryPath", "every path", "options", nil)
	return d, err
}

// closeObjects lets objects have no other fields than those described.
func closeObjects(value any) {
	switch v := value.(type) {
	case object:
		if _, said := v["additionalProperties"]; !said && v["properties"] != nil {
			v["additionalProperties"] = false
		}
		for _, member := range v {
			closeObjects(member)
		}
	case []any:
		for _, element := range v {
			closeObjects(element)
		}
	}
}

// Operations are all that are described, but for HEAD and OPTIONS.
func (d *Document) Operations() []Operation { return slices.Clone(d.operations) }

// at is the object at a JSON pointer; nil when there is none.
func (d *Document) at(pointer string) object {
	var value any = d.root
	for _, name := range strings.Split(pointer, "/")[1:] {
		o, _ := value.(object)
		value = o[unescape.Replace(name)]
	}
	o, _ := value.(object)
	return o
}

var (
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
	escape   = strings.NewReplacer("/", "~1", "~", "~0")
)

// follow answers where the object is that stands at a pointer, or that a $ref there
// names.
func (d *Document) follow(pointer string) string {
	if ref, ok := d.at(pointer)["$ref"].(string); ok {
		return d.follow(strings.TrimPrefix(ref, "#"))
	}
	return pointer
}

func (d *Document) addPath(path string) error {
	pointer := "/paths/" + escape.Replace(path)
	integers := map[string]bool{}
	parameters, _ := d.at(pointer)["parameters"].([]any)
	for i := range parameters {
		p := d.at(d.follow(pointerTo(parameters[i])))
		schema, _ := p["schema"].(object)
		name, _ := p["name"].(string)
		integers[name] = p["in"] == "path" && schema["type"] == "integer"
	}
	var segments []segment
	for part := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
		name, variable := strings.CutPrefix(part, "{")
		segments = append(segments, segment{literal: part, variable: variable, digits: integers[strings.TrimSuffix(name, "}")]})
	}
	for name := range d.at(pointer) {
		if !slices.Contains([]string{"get", "put", "post", "patch", "delete"}, name) {
			continue
		}
		o, err := d.operation(pointer, path, name, segments)
		if err != nil {
			return err
		}
		d.operations = append(d.operations, o)
	}
	return nil
}

// pointerTo is where a $ref points to; parameters of paths all are such.
func pointerTo(value any) string {
	o, _ := value.(object)
	ref, _ := o["$ref"].(string)
	return strings.TrimPrefix(ref, "#")
}

func (d *Document) operation(item, path, method string, segments []segment) (Operation, error) {
	pointer := item + "/" + method
	id, _ := d.at(pointer)["operationId"].(string)
	o := Operation{ID: id, Method: strings.ToUpper(method), Path: path, segments: segments, responses: map[int]*response{}}
	for code := range d.at(pointer + "/responses") {
		status, err := strconv.Atoi(code)
		if err != nil {
			return o, fmt.Errorf("%s: %s is no status", id, code)
		}
		if o.responses[status], err = d.response(d.follow(pointer + "/responses/" + code)); err != nil {
			return o, fmt.Errorf("%s: %d: %w", id, status, err)
		}
	}
	return o, nil
}

// response is the one at a pointer.
func (d *Document) response(pointer string) (*response, error) {
	if known := d.responses[pointer]; known != nil {
		return known, nil
	}
	r := &response{headers: map[string]header{}, content: map[string]media{}}
	for name := range d.at(pointer + "/headers") {
		at := d.follow(pointer + "/headers/" + name)
		schema, err := d.Schema(at + "/schema")
		if err != nil {
			return nil, err
		}
		required, _ := d.at(at)["required"].(bool)
		r.headers[http.CanonicalHeaderKey(name)] = header{required, d.at(at + "/schema")["type"] == "integer", schema}
	}
	for _, name := range slices.Sorted(maps.Keys(d.at(pointer + "/content"))) {
		at := pointer + "/content/" + escape.Replace(name)
		schema, err := d.Schema(at + "/schema")
		if err != nil {
			return nil, err
		}
		m := media{schema: schema}
		if d.at(at+"/x-item-schema") != nil {
			if m.item, err = d.Schema(at + "/x-item-schema"); err != nil {
				return nil, err
			}
		}
		r.content[name] = m
	}
	d.responses[pointer] = r
	return r, nil
}

// Schema compiles the schema at a JSON pointer.
func (d *Document) Schema(pointer string) (*jsonschema.Schema, error) {
	return d.compiler.Compile(here + "#" + strings.NewReplacer("%", "%25", "{", "%7B", "}", "%7D").Replace(pointer))
}
