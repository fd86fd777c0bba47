package main

import "syscall"

// otherFiles is how many files the program may have open beside the connections
// of clients and those to the database.
const otherFiles = 128

// maxConnections is how many clients may be connected: what is set, or what the
// limit of open files leaves. Go raises the soft limit to the hard one.
func (p *program) maxConnections() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return p.config.MaxConnections
	}
	most := fitConnections(p.config.MaxConnections, p.config.DatabaseConns, uint64(limit.Cur))
	if most < p.config.MaxConnections {
		p.logger.Warn("fewer clients can be connected than set, because of the limit of open files",
			"connections", most, "set", p.config.MaxConnections, "open files", limit.Cur)
	}
	return most
}

// fitConnections is how many of the connections there can be with so many files.
func fitConnections(set, database int, files uint64) int {
	others := uint64(database + otherFiles)
	if uint64(set)+others <= files {
		return set
	}
	return int(max(files, others+1) - others)
}
