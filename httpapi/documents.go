package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strconv"

	"github.com/carelog/carelog/events/schema"
	"github.com/carelog/carelog/httpapi/openapi"
)

const schemasPath = "/api/events/schemas/"

// document is a file that is the same for everybody. It is public: it tells how the API
// and events look and holds none.
type document struct {
	body         []byte
	contentType  string
	cacheControl string
	entityTag    string
}

// What a published schema demands never changes. The others may with every start of a
// newer program.
const (
	keepForAnHour = "public, max-age=3600"
	askEachTime   = "public, no-cache"
)

func newDocument(body []byte, contentType, cacheControl string) document {
	sum := sha256.Sum256(body)
	return document{body, contentType, cacheControl, `"` + hex.EncodeToString(sum[:16]) + `"`}
}

// documents are what is told about the API and about events.
type documents struct {
	openAPI, openAPIYAML document

	asyncAPI document
	files    map[string]document // the schemas, by the file's name
	index    document
}

func newDocuments() (documents, error) {
	d := documents{
		openAPI:     newDocument(openapi.JSON, "application/json", askEachTime),
		openAPIYAML: newDocument(openapi.YAML, "application/yaml", askEachTime), // RFC 9512
		files:       map[string]document{},
	}
	asyncAPI, err := schema.Read(schema.AsyncAPI)
	if err != nil {
		return d, fmt.Errorf("read the AsyncAPI document: %w", err)
	}
	d.asyncAPI = newDocument(asyncAPI, "application/json", askEachTime)
	names, err := schema.Names()
	if err != nil {
		return d, fmt.Errorf("list the schemas: %w", err)
	}
	index := []byte(`{"asyncapi":"/api/events/asyncapi.json","schemas":[`)
	for i, name := range names {
		body, err := schema.Read(name)
		if err != nil {
			return d, fmt.Errorf("read a schema: %w", err)
		}
		var about struct {
			ID string `json:"$id"`
		}
		if err := json.Unmarshal(body, &about); err != nil {
			return d, fmt.Errorf("read the schema %s: %w", name, err)
		}
		name = path.Base(name)
		d.files[name] = newDocument(body, "application/schema+json", keepForAnHour)
		if i > 0 {
			index = append(index, ',')
		}
		index = appendTexts(index, "id", about.ID, "url", schemasPath+name)
	}
	d.index = newDocument(append(index, "]}"...), "application/json", askEachTime)
	return d, nil
}

// listSchemas answers GET /api/events/schemas/.
func (a *api) listSchemas(w http.ResponseWriter, r *http.Request) error {
	writeDocument(w, r, a.documents.index)
	return nil
}

// getSchema answers GET /api/events/schemas/{file}.
func (a *api) getSchema(w http.ResponseWriter, r *http.Request) error {
	known, found := a.documents.files[r.PathValue("file")]
	if !found {
		return notFound
	}
	writeDocument(w, r, known)
	return nil
}

// getAsyncAPI answers GET /api/events/asyncapi.json.
func (a *api) getAsyncAPI(w http.ResponseWriter, r *http.Request) error {
	writeDocument(w, r, a.documents.asyncAPI)
	return nil
}

// getOpenAPI answers GET /api/openapi.json.
func (a *api) getOpenAPI(w http.ResponseWriter, r *http.Request) error {
	writeDocument(w, r, a.documents.openAPI)
	return nil
}

// getOpenAPIYAML answers GET /api/openapi.yaml.
func (a *api) getOpenAPIYAML(w http.ResponseWriter, r *http.Request) error {
	writeDocument(w, r, a.documents.openAPIYAML)
	return nil
}

// writeDocument answers with a document, or 304 when If-None-Match says that the client
// has it already.
func writeDocument(w http.ResponseWriter, r *http.Request, d document) {
	h := w.Header()
	h.Set("ETag", d.entityTag)
	h.Set("Cache-Control", d.cacheControl)
	if lines := r.Header["If-None-Match"]; len(lines) > 0 && noneMatch(lines, d.entityTag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", d.contentType)
	h.Set("Content-Length", strconv.Itoa(len(d.body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(d.body) // an error means that the client is gone
}
