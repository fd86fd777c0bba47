package main

import (
	"encoding/json"
	"fmt"
	"time"
)

// compare sends one request of each row to both servers, whose answers must
// have the same status and form: only then do they do the same work.
func (s *session) compare() error {
	for _, r := range s.options.Rows {
		var forms [2]string
		for i, server := range s.servers {
			answer, err := server.ask(r)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", r.title, server.name, err)
			}
			form, err := formOf(answer.body)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", r.title, server.name, err)
			}
			forms[i] = fmt.Sprintf("%d %s", answer.status, form)
		}
		if forms[0] != forms[1] {
			return fmt.Errorf("%s: the answers are not alike:\n%s\n%s", r.title, forms[0], forms[1])
		}
	}
	return nil
}

// ask sends the next request of a row.
func (s *server) ask(r row) (response, error) {
	c, err := dial(s.addr, time.Now().Add(30*time.Second))
	if err != nil {
		return response{}, err
	}
	defer c.socket.Close()
	request, err := r.append(nil, &job{Addr: s.addr, Stock: s.stock}, s.sent[r.name])
	if err != nil {
		return response{}, err
	}
	s.sent[r.name]++
	answer, err := c.do(request)
	if err != nil {
		return response{}, err
	}
	return answer, answer.check()
}

// formOf is JSON with nothing of the values but their types.
func formOf(text []byte) (string, error) {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return "", err
	}
	form, err := json.Marshal(emptied(value))
	return string(form), err
}

func emptied(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key := range value {
			value[key] = emptied(value[key])
		}
	case []any:
		for i := range value {
			value[i] = emptied(value[i])
		}
	case string:
		return ""
	case float64:
		return 0
	}
	return value
}
