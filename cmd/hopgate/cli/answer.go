package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/hopgate/hopgate/compiler"
)

// answer is a decision as the commands print it.
type answer struct {
	Verdict string `json:"verdict"`         // deny, allow or allow-hard
	Rule    string `json:"rule,omitempty"`  // that decided
	Audit   string `json:"audit,omitempty"` // the audit rule that would have decided

	Explanation []string `json:"explanation,omitempty"` // each rule up to the one that decided
}

// newAnswer says what a policy has decided.
func newAnswer(p *compiler.Policy, d compiler.Decision) answer {
	a := answer{Verdict: d.Verdict.String(), Rule: p.RuleID(d.Rule)}
	if d.Audit >= 0 {
		a.Audit = p.RuleID(d.Audit)
	}
	return a
}

// text is the answer for a person.
func (a answer) text() string {
	s := a.Verdict
	if a.Rule != "" {
		s += " by " + a.Rule
	}
	if a.Audit != "" {
		s += ", audit " + a.Audit
	}
	return s
}

// maxRequest is the longest request line, in bytes.
const maxRequest = 64 << 10

// answerLines answers request lines, each with a line of JSON, as soon as there is
// nothing more to read. A bad line is answered with its error, and makes the whole
// a no.
func (c *console) answerLines(requests io.Reader, policy *compiler.Policy, decide engine) error {
	in := bufio.NewReaderSize(requests, maxRequest+len("\n"))
	bad := 0
	for {
		line, err := readLine(in)
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, errLongLine) {
			return fmt.Errorf("requests: %w", err)
		}
		var a answer
		if err == nil {
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			a, err = answerLine(line, policy, decide)
		}
		if err != nil {
			bad++
			err = c.printJSONLine(map[string]string{"error": err.Error()})
		} else {
			err = c.printJSONLine(a)
		}
		if err == nil && in.Buffered() == 0 {
			err = c.out.Flush()
		}
		if err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d bad requests", bad)
	}
	return nil
}

func answerLine(line []byte, policy *compiler.Policy, decide engine) (answer, error) {
	request, err := policy.RequestFromJSON(line)
	if err != nil {
		return answer{}, err
	}
	return decide(&request)
}

var errLongLine = fmt.Errorf("the line is longer than %d bytes", maxRequest)

// readLine reads a line, good until the next call. A line that is too long is
// skipped, with errLongLine.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		if err == io.EOF && len(line) > 0 {
			err = nil
		}
		return line, err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = in.ReadSlice('\n')
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	return nil, errLongLine
}
