package lang

import (
	"cmp"
	"fmt"
)

// maxErrors is how many findings one parse collects before it gives up: a file
// of another kind would produce millions.
const maxErrors = 100

// report collects what a parse finds.
type report struct {
	kind    string // of the file; "" is a policy
	found   Diagnostics
	stopped bool // a limit was met: the parse should end
}

// file is what messages call the file.
func (r *report) file() string { return cmp.Or(r.kind, "policy") }

// errorf adds an error and returns it, for a hint or notes to be put in; the
// pointer is good until the next call.
func (r *report) errorf(at Span, code, format string, args ...any) *Diagnostic {
	if r.stopped {
		return &Diagnostic{}
	}
	d := Diagnostic{Span: at, Code: code, Message: fmt.Sprintf(format, args...)}
	if len(r.found) == maxErrors {
		d.Code, d.Message = codeLimit, fmt.Sprintf("more than %d errors; the rest is not shown", maxErrors)
	}
	r.stopped = d.Code == codeLimit
	r.found = append(r.found, d)
	return &r.found[len(r.found)-1]
}
