package cli

import (
	"bufio"
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
)

// serviceName is the source of what a service writes to the event log of
// applications. The service itself may have any name.
const serviceName = "hopgate"

// runService enforces the policy as a service that has been started. What goes to
// the standard streams otherwise goes to the event log.
func (e *enforcement) runService() error {
	log, err := eventlog.Open(serviceName)
	if err != nil {
		return err
	}
	defer log.Close()
	e.console = &console{in: e.in, out: bufio.NewWriter(eventWriter{log}), stdout: eventWriter{log}, err: eventWriter{log}}
	s := &service{enforcement: e}
	err = svc.Run(serviceName, s)
	if errors.Is(err, windows.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT) {
		return misuse{errors.New("--service is for processes that were started by the service control manager")}
	}
	if err != nil {
		return err
	}
	if s.failure != nil {
		e.report(s.failure)
		return errSaid
	}
	return nil
}

// service answers the service control manager.
type service struct {
	*enforcement
	failure error
}

// Execute runs until the enforcement ends by itself, or the manager ends it.
func (s *service) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (specific bool, code uint32) {
	const accepts = svc.AcceptStop | svc.AcceptShutdown
	status <- svc.Status{State: svc.StartPending}
	ended := make(chan error, 1)
	go func() { ended <- s.run() }()
	started, stopping := s.started, false
	for {
		select {
		case <-started:
			started = nil
			status <- svc.Status{State: svc.Running, Accepts: accepts}
		case s.failure = <-ended:
			if s.failure != nil {
				return true, ExitNo // the manager's recovery actions take over
			}
			return false, 0
		case r := <-requests:
			switch {
			case r.Cmd == svc.Interrogate:
				status <- r.CurrentStatus
			case (r.Cmd == svc.Stop || r.Cmd == svc.Shutdown) && !stopping:
				stopping = true
				status <- svc.Status{State: svc.StopPending}
				close(s.stop)
			}
		}
	}
}

// eventWriter writes each text as an event.
type eventWriter struct{ log *eventlog.Log }

func (w eventWriter) Write(text []byte) (int, error) {
	if err := w.log.Info(1, string(text)); err != nil {
		return 0, fmt.Errorf("event log: %w", err)
	}
	return len(text), nil
}
