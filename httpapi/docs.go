package httpapi

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
)

const docsPath = "/api/docs/"

// docsFiles are the API page, and Swagger UI, which shows it: two files of npm's
// swagger-ui-dist, compressed, with their licences. docs/update.sh writes these.
//
//go:embed docs/index.html docs/docs.js docs/docs.css docs/*.gz docs/*.txt
var docsFiles embed.FS

// docsPolicy lets the page run its own scripts, none that is written into it, and
// talk to this server alone. Swagger UI draws its icons from data.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"

// docs is the page and what belongs to it.
type docs struct {
	page  document
	files map[string]docsFile
}

// docsFile is a file in the one or two forms that it is sent in.
type docsFile struct {
	version string // changes with the file
	plain   func() document
	packed  *document // by gzip; nil for a small one
}

// keepForGood is for what is asked for by its version.
const keepForGood = "public, max-age=31536000, immutable"

func newDocs() (docs, error) {
	d := docs{files: map[string]docsFile{}}
	entries, err := docsFiles.ReadDir("docs")
	if err != nil {
		return d, fmt.Errorf("list the files of the API page: %w", err)
	}
	var page []byte
	for _, entry := range entries {
		body, err := docsFiles.ReadFile("docs/" + entry.Name())
		if err != nil {
			return d, fmt.Errorf("read a file of the API page: %w", err)
		}
		if entry.Name() == "index.html" {
			page = body
			continue
		}
		name, isPacked := strings.CutSuffix(entry.Name(), ".gz")
		known := newDocument(body, docsTypes[path.Ext(name)], askEachTime)
		file := docsFile{version: strings.Trim(known.entityTag, `"`)[:12], plain: func() document { return known }}
		if isPacked {
			file.packed = &known
			file.plain = sync.OnceValue(func() document { return unpack(known) }) // nearly nobody wants it
		}
		d.files[name] = file
	}
	for name, file := range d.files {
		page = bytes.ReplaceAll(page, []byte(`"`+docsPath+name+`"`), []byte(`"`+docsPath+name+`?v=`+file.version+`"`))
	}
	d.page = newDocument(page, "text/html; charset=utf-8", askEachTime)
	return d, nil
}

var docsTypes = map[string]string{
	".js":  "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8",
	".txt": "text/plain; charset=utf-8",
}

// unpack is for what this program was built with, so that it cannot fail.
func unpack(packed document) document {
	from, err := gzip.NewReader(bytes.NewReader(packed.body))
	if err != nil {
		panic(err)
	}
	body, err := io.ReadAll(from)
	if err != nil {
		panic(err)
	}
	return newDocument(body, packed.contentType, packed.cacheControl)
}

// getDocs answers GET /api/docs/.
func (a *api) getDocs(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Security-Policy", docsPolicy)
	writeDocument(w, r, a.docs.page)
	return nil
}

// getDocsFile answers GET /api/docs/{file}.
func (a *api) getDocsFile(w http.ResponseWriter, r *http.Request) error {
	file, found := a.docs.files[r.PathValue("file")]
	if !found {
		return notFound
	}
	var answer document
	if file.packed == nil {
		answer = file.plain()
	} else {
		h := w.Header()
		h.Set("Vary", h.Get("Vary")+", Accept-Encoding")
		if weight(r.Header["Accept-Encoding"], "gzip", "*") > 0 {
			h.Set("Content-Encoding", "gzip")
			answer = *file.packed
		} else {
			answer = file.plain()
		}
	}
	if r.URL.RawQuery == "v="+file.version {
		answer.cacheControl = keepForGood
	}
	writeDocument(w, r, answer)
	return nil
}
