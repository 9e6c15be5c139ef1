package lang

import (
	"slices"
	"strings"
)

// The words a setting may have.
var (
	hooks          = [...]string{"connect", "accept"}
	modes          = [...]string{"enforce", "audit"}
	onUnknowns     = [...]string{"fail-closed", "fail-open"}
	interfaceKinds = [...]string{"alias", "luid", "guid", "name"}
	verdictWords   = [...]string{"allow", "allow hard", "deny"} // DSL
	verdictNames   = [...]string{"allow", "allow-hard", "deny"} // YAML
)

// fields names what a condition may test, in the order of the documentation.
// What each means is package compiler's business.
var fields = [...]string{
	"interface_type", "tunnel_type", "next_hop", "sub_interface", "interface",
	"remote_address", "local_address", "remote_port", "local_port", "remote", "local",
	"protocol", "family", "compartment",
}

func isField(s string) bool { return slices.Contains(fields[:], s) }

// knownValue reports a setting's value that is none of the words.
func (r *report) knownValue(w Word, setting string, values []string) bool {
	if slices.Contains(values, w.Text) && !w.Ref {
		return true
	}
	r.errorf(w.Span, codeUnknownValue, "unknown value `%s` for `%s`", shorten(w.Text), setting).Hint =
		didYouMean(w.Text, values, "it is ")
	return false
}

// once reports a setting that was given before, at the place first gives.
func (r *report) once(at Span, setting string, given bool, first func() Span) bool {
	if given {
		r.errorf(at, codeDuplicateKey, "`%s` is given twice", setting).Notes = []Note{{first(), "first given here"}}
	}
	return !given
}

// appendGiven adds to a test's values one for a field that has none yet.
func appendGiven(r *report, list []Given, g Given) []Given {
	i := slices.IndexFunc(list, func(h Given) bool { return h.Field.Text == g.Field.Text })
	if !r.once(g.Field.Span, g.Field.Text, i >= 0, func() Span { return list[i].Field.Span }) {
		return list
	}
	return append(list, g)
}

// isID reports whether s is [a-z][a-z0-9_-]*.
func isID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '_' && c != '-') {
			return false
		}
	}
	return s != ""
}

// checkID reports a name that is no ID.
func checkID(r *report, w Word) {
	if isID(w.Text) && !w.Ref {
		return
	}
	text := w.Text
	if w.Ref {
		text = "$" + text
	}
	d := r.errorf(w.Span, codeBadID, "`%s` is not an id", shorten(text))
	d.Hint = "an id is a lower-case letter, then lower-case letters, digits, `-` and `_`"
	if better := idOf(w.Text); better != "" {
		d.Hint += ": `" + shorten(better) + "`"
	}
}

// checkRuleID reports a rule of the name under which default's decisions appear.
func checkRuleID(r *report, w Word) {
	if w.Text == "default" {
		r.errorf(w.Span, codeBadID, "no rule may be called `default`").Hint = "decisions of the default are reported under that name"
	}
}

// idOf makes an ID of a name that is nearly one, or returns "".
func idOf(s string) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-':
			return c
		case c >= 'A' && c <= 'Z':
			return c - 'A' + 'a'
		}
		return '-'
	}, s)
	s = strings.Trim(strings.TrimLeft(s, "0123456789-_"), "-")
	if !isID(s) {
		return ""
	}
	return s
}

// isWord reports whether s can be written as one DSL literal.
func isWord(s string) bool {
	for i := range len(s) {
		if !isWordByte(s[i]) {
			return false
		}
	}
	return s != "" && (s[0] != ':' || strings.HasPrefix(s, "::")) && (!strings.HasSuffix(s, ":") || strings.HasSuffix(s, "::"))
}
