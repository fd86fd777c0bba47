package events

// Subjects names the records that a decision is about.
type Subjects struct {
	Patient     *int64  // nil: none
	Doctor      *int64  // nil: none
	DoctorEmail *string // the doctor who has exactly this address
	Mappings    bool    // those of the patient, or of the doctor; where both are named, those of the pair
}

// Snapshot is a record as all its events up to some position of the log have
// left it, written as the one event that would make it so.
type Snapshot struct {
	Payload  Payload
	Position Position // of the record's last event, 0 for a mapping
}
