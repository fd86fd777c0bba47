package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/carelog/carelog/events"
)

// errReaderGone is what the output of a command answers when nobody reads it any
// more, as after `| head`.
var errReaderGone = errors.New("the reader of the output has closed it")

// pipeOutput makes the end of the reader an errReaderGone.
type pipeOutput struct{ io.Writer }

func (w pipeOutput) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = errReaderGone
	}
	return n, err
}

// printable is a text that somebody has entered, without what a terminal would
// take for a command.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// lineWriter writes JSON values, each on a line of its own. What a terminal would
// take for a command is escaped, which leaves the values as they are.
type lineWriter struct {
	w             io.Writer
	line, escaped bytes.Buffer
}

func (l *lineWriter) write(value any) error {
	l.line.Reset()
	encoder := json.NewEncoder(&l.line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	text := l.line.Bytes()
	if !plain(text) {
		l.escaped.Reset()
		for _, r := range string(text) {
			switch {
			case r == '\n' || unicode.IsPrint(r):
				l.escaped.WriteRune(r)
			case r > 0xffff:
				high, low := utf16.EncodeRune(r)
				fmt.Fprintf(&l.escaped, `\u%04x\u%04x`, high, low)
			default:
				fmt.Fprintf(&l.escaped, `\u%04x`, r)
			}
		}
		text = l.escaped.Bytes()
	}
	_, err := l.w.Write(text)
	return err
}

// plain tells of a JSON text whether nothing in it needs to be escaped: it has only
// ASCII, of which the encoder has escaped what is not printable, but for DEL.
func plain(text []byte) bool {
	for _, c := range text {
		if c >= 0x7f {
			return false
		}
	}
	return true
}

// timeLayout is how tables show a time: in full, so that it can be given back as a
// moment.
const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

func timeText(t time.Time) string { return t.UTC().Format(timeLayout) }

// actorText is who acted, as tables show it. The name is left out when it is empty.
func actorText(actor events.Actor, name string) string {
	switch {
	case actor.UserID != 0 && name != "":
		return fmt.Sprintf("user/%d %s", actor.UserID, printable(name))
	case actor.UserID != 0:
		return fmt.Sprintf("user/%d", actor.UserID)
	case actor.Operator != "":
		return printable(fmt.Sprintf("%s (%s)", actor.Operator, actor.Tool))
	case actor.Tool != "":
		return printable(actor.Tool)
	}
	return "-"
}
