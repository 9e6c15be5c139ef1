//go:build linux || windows

package cli

import (
	"os"
	"time"

	"github.com/hopgate/hopgate/compiler"
	"github.com/hopgate/hopgate/lang"
)

// watched are the files a policy was read from, with when they were changed.
type watched map[string]time.Time

func filesOf(path string, policy *compiler.Policy) watched {
	w := watched{path: {}}
	add := func(s lang.Span) {
		if s.Source != nil {
			w[s.Source.Name] = time.Time{}
		}
	}
	for i := range policy.Rules {
		add(policy.Rules[i].Span)
	}
	for _, s := range policy.Sets {
		add(s.Span)
	}
	return w.now()
}

func (w watched) now() watched {
	for path := range w {
		w[path] = changedAt(path)
	}
	return w
}

func (w watched) changed() bool {
	for path, at := range w {
		if now := changedAt(path); !now.IsZero() && now != at {
			return true
		}
	}
	return false
}

// changedAt is zero for a file that is not there, as while an editor replaces it.
func changedAt(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
