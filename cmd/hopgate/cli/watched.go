//go:build linux || windows

package cli

import (
	"io"
	"os"
	"time"
)

// watched are the files a policy is read from, with when they were changed.
type watched map[string]time.Time

// watch notes which files the policy is read from, from now on.
func watch(o *kernelOptions) watched {
	w := watched{o.path: changedAt(o.path)}
	o.check.Open = func(path string) ([]byte, error) {
		w[path] = changedAt(path)
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, maxInput+1))
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
