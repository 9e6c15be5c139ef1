package compiler

import (
	"encoding/json"
	"fmt"
)

// RequestFromJSON reads a request as one JSON object whose keys are fields and
// whose values are literals, as strings or numbers; see ParseRequest.
func (p *Policy) RequestFromJSON(text []byte) (Request, error) {
	s := jsonScanner{text: text}
	var given [NumFields + len(endNames)]Given
	n := 0
	err := s.object(func(name, literal string) error {
		for _, g := range given[:n] {
			if g.Field == name {
				return fmt.Errorf("`%s` is given twice", name)
			}
		}
		if n == len(given) {
			return fmt.Errorf("a request has at most %d fields", len(given))
		}
		given[n] = Given{name, literal}
		n++
		return nil
	})
	if err != nil {
		return Request{}, err
	}
	return p.ParseRequest(given[:n])
}

// jsonScanner reads a flat JSON object; encoding/json would take a repeated key
// and a different letter case, and several times as long.
type jsonScanner struct {
	text []byte
	at   int
}

// object gives the members of an object, each value a string or a number.
func (s *jsonScanner) object(member func(name, literal string) error) error {
	if !s.accept('{') {
		return s.unexpected("a JSON object")
	}
	for first := true; !s.accept('}'); first = false {
		if !first && !s.accept(',') {
			return s.unexpected("`,` or `}`")
		}
		name, err := s.string("a field's name in quotes")
		if err != nil {
			return err
		}
		if !s.accept(':') {
			return s.unexpected("`:`")
		}
		literal, err := s.literal(name)
		if err != nil {
			return err
		}
		if err := member(name, literal); err != nil {
			return err
		}
	}
	if s.skip(); s.at < len(s.text) {
		return s.unexpected("nothing after the object")
	}
	return nil
}

func (s *jsonScanner) skip() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

func (s *jsonScanner) accept(c byte) bool {
	s.skip()
	if s.at == len(s.text) || s.text[s.at] != c {
		return false
	}
	s.at++
	return true
}

func (s *jsonScanner) unexpected(want string) error {
	if s.skip(); s.at >= len(s.text) {
		return fmt.Errorf("expected %s, found the end", want)
	}
	rest := s.text[s.at:min(len(s.text), s.at+20)]
	return fmt.Errorf("expected %s at column %d, found `%s`", want, s.at+1, rest)
}

// string reads a JSON string; one with an escape goes through encoding/json.
func (s *jsonScanner) string(what string) (string, error) {
	if !s.accept('"') {
		return "", s.unexpected(what)
	}
	start, escaped := s.at, false
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			if !escaped {
				return string(s.text[start : s.at-1]), nil
			}
			var value string
			err := json.Unmarshal(s.text[start-1:s.at], &value)
			return value, err
		case c == '\\':
			escaped = true
			s.at++
		case c < ' ':
			return "", fmt.Errorf("a control character inside a string at column %d", s.at+1)
		}
	}
	return "", s.unexpected("the end of the string")
}

// literal reads a string, or a number as it is written.
func (s *jsonScanner) literal(field string) (string, error) {
	s.skip()
	start := s.at
	for s.at < len(s.text) && isNumberByte(s.text[s.at]) {
		s.at++
	}
	if number := s.text[start:s.at]; len(number) > 0 {
		if !json.Valid(number) {
			return "", fmt.Errorf("`%s` is not a JSON number", number)
		}
		return string(number), nil
	}
	return s.string("a string or a number for `" + field + "`")
}

func isNumberByte(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}
