package schema

import (
	"embed"
	"io/fs"
)

//go:embed asyncapi.json schemas/*.json
var files embed.FS

// AsyncAPI is the name of the AsyncAPI document.
const AsyncAPI = "asyncapi.json"

// Names lists the files of the schemas, like "schemas/patient.registered.v1.json",
// sorted.
func Names() ([]string, error) { return fs.Glob(files, "schemas/*.json") }

// Read answers the file of this name: one of [Names], or [AsyncAPI].
func Read(name string) ([]byte, error) { return files.ReadFile(name) }
