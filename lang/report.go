package lang

import "fmt"

// maxErrors is how many findings one parse collects before it gives up: a file
// of another kind would produce millions.
const maxErrors = 100

// report collects what a parse finds.
type report struct {
	found Diagnostics
}

// errorf adds an error and returns it, for a hint or notes to be put in; the
// pointer is good until the next call.
func (r *report) errorf(at Span, code, format string, args ...any) *Diagnostic {
	d := Diagnostic{Span: at, Code: code, Message: fmt.Sprintf(format, args...)}
	switch {
	case len(r.found) < maxErrors:
	case len(r.found) == maxErrors:
		d = Diagnostic{Span: at, Code: codeLimit, Message: fmt.Sprintf("more than %d errors; the rest is not shown", maxErrors)}
	default:
		return &d
	}
	r.found = append(r.found, d)
	return &r.found[len(r.found)-1]
}

// full reports whether a parse should stop.
func (r *report) full() bool { return len(r.found) > maxErrors }
