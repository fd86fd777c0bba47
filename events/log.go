package events

// LogImportedType is the type of the event that ends an import.
const LogImportedType Type = "log.imported"

// LogImported tells that the events before it were another log's, and are here under
// the same positions. Who did it is the event's actor.
type LogImported struct {
	SourceLog string   `json:"source_log"` // the id of the log that was exported
	Head      Position `json:"head"`       // the position of the last event that was imported
	Events    int64    `json:"events"`     // how many were
	Manifest  string   `json:"manifest"`   // SHA-256 of the export's manifest, in hexadecimal
	Accounts  int64    `json:"accounts"`   // users whose passwords were imported, too
}

// EventType implements [Payload].
func (LogImported) EventType() Type { return LogImportedType }

func registerLog(r *Registry) {
	register[LogImported](r)
}
