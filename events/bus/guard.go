package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// GuardSubject is where a subscriber's requests for a consumer arrive, as
// GuardSubject.<subscriber>.<consumer>[.<filter>]. The accounts of the NATS server see to
// it that nobody asks under another's name.
const GuardSubject = "carelog.subscribers"

// GuardUnnamed stands for the consumer where the subject of a request names none. It may
// have a name all the same, of which the permissions of NATS know nothing.
const GuardUnnamed = "_"

// subscriberMetadata is the key in a consumer's metadata that holds whose it is.
const subscriberMetadata = "carelog-subscriber"

const (
	maxWaiting   = 16               // requests of a subscriber
	maxEphemeral = 64               // consumers of a subscriber, beside the durable one
	maxInactive  = 10 * time.Minute // after which a consumer that nobody reads from is forgotten, unless it is durable
	maxPulls     = 512              // requests for events that wait at a consumer, which is JetStream's own default
)

// Guard makes consumers for subscribers. Permissions of NATS see a request's
// subject and not what is in it: a consumer may be told to send its messages to any
// subject of the account that the NATS stream is in, by whatever name it wants, and
// there may be any number of them. So the Guard passes on only what harms nobody. It is
// needed for making and changing consumers, not for using them.
type Guard struct {
	conn   *Conn
	log    *slog.Logger
	warned atomic.Int64 // when it warned last of a refusal, in Unix nanoseconds
}

// NewGuard returns a guard that does nothing before [Guard.Run].
func NewGuard(conn *Conn, log *slog.Logger) *Guard { return &Guard{conn: conn, log: log} }

// consumerRequest is a request for a consumer in JetStream's API. What the client
// library does not know of is not passed on.
type consumerRequest struct {
	Stream string                   `json:"stream_name"`
	Config jetstream.ConsumerConfig `json:"config"`
	Action string                   `json:"action,omitempty"`
}

// parseConsumerRequest reads a request. Where it tells no ack_policy it has JetStream's
// default, which is not that of the client library's type.
func parseConsumerRequest(text []byte) (request consumerRequest, err error) {
	var told struct {
		Config struct {
			AckPolicy json.RawMessage `json:"ack_policy"`
		} `json:"config"`
	}
	if err := errors.Join(json.Unmarshal(text, &request), json.Unmarshal(text, &told)); err != nil {
		return request, err
	}
	if told.Config.AckPolicy == nil {
		request.Config.AckPolicy = jetstream.AckNonePolicy
	}
	return request, nil
}

// Run answers requests until ctx is done: those of one subscriber one at a time, so that
// none keeps the others waiting. Of several processes one answers each.
func (g *Guard) Run(ctx context.Context) error {
	requests := make(chan *nats.Msg, 8192)
	subscription, err := g.conn.nc.ChanQueueSubscribe(GuardSubject+".*.>", "carelog", requests)
	if err != nil {
		return fmt.Errorf("take requests for consumers: %w", err)
	}
	defer func() { _ = subscription.Unsubscribe() }() // fails when the connection is closed, which is as good
	var workers sync.WaitGroup
	defer workers.Wait()
	waiting := map[string]chan *nats.Msg{} // by subscriber; there are no others than have an account
	for {
		select {
		case <-ctx.Done():
			return nil
		case request := <-requests:
			if request.Reply == "" {
				continue // nobody would hear the answer
			}
			subscriber, _, _ := strings.Cut(strings.TrimPrefix(request.Subject, GuardSubject+"."), ".")
			queue := waiting[subscriber]
			if queue == nil {
				queue = make(chan *nats.Msg, maxWaiting)
				waiting[subscriber] = queue
				workers.Go(func() { g.work(ctx, subscriber, queue) })
			}
			select {
			case queue <- request:
			default:
				g.respond(request, tooMany)
			}
		}
	}
}

// tooMany is answered without a look at the request.
var tooMany = refuse(fmt.Errorf("more than %d requests of this subscriber are waiting: await their answers", maxWaiting))

// work answers the requests of a subscriber.
func (g *Guard) work(ctx context.Context, subscriber string, queue <-chan *nats.Msg) {
	for {
		select {
		case <-ctx.Done():
			return
		case request := <-queue:
			g.respond(request, g.answer(ctx, subscriber, request))
		}
	}
}

func (g *Guard) respond(request *nats.Msg, answer []byte) {
	if err := request.Respond(answer); err != nil {
		g.log.Warn("a request for a consumer could not be answered", "error", err)
	}
}

// tellRefused warns once a second at most: a subscriber can ask for what is refused as
// often as it likes.
func (g *Guard) tellRefused(ctx context.Context, subscriber string, reason error) {
	level, last, now := slog.LevelDebug, g.warned.Load(), time.Now().UnixNano()
	if now-last > int64(time.Second) && g.warned.CompareAndSwap(last, now) {
		level = slog.LevelWarn
	}
	g.log.Log(ctx, level, "a consumer is refused", "subscriber", subscriber, "reason", reason)
}

// answer is JetStream's, or a refusal.
func (g *Guard) answer(ctx context.Context, subscriber string, msg *nats.Msg) []byte {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	defer g.conn.untilLost(cancel)()
	tail := strings.TrimPrefix(msg.Subject, GuardSubject+"."+subscriber+".")
	name, _, _ := strings.Cut(tail, ".")
	request, err := parseConsumerRequest(msg.Data)
	if err != nil {
		return refuse(errors.New("the request is not JSON as JetStream's API has it"))
	}
	if tail == GuardUnnamed {
		if name, err = nameOf(&request.Config); err != nil {
			g.tellRefused(ctx, subscriber, err)
			return refuse(err)
		}
		tail = name
	}
	if err := g.allow(ctx, subscriber, name, &request.Config); err != nil {
		g.tellRefused(ctx, subscriber, err)
		return refuse(err)
	}
	if request.Config.Durable != "" {
		if err := g.evict(ctx, subscriber); err != nil {
			g.log.Warn("the consumer of a subscriber could not be looked up", "subscriber", subscriber, "error", err)
			return refuse(errAway)
		}
	}
	complete(&request.Config, subscriber)
	body, err := json.Marshal(request)
	if err != nil {
		return refuse(errors.New("the request cannot be passed on"))
	}
	answer, err := g.conn.nc.RequestWithContext(ctx, "$JS.API.CONSUMER.CREATE."+StreamName+"."+tail, body)
	if err != nil {
		g.log.Warn("a consumer could not be made", "subscriber", subscriber, "error", err)
		return refuse(errAway)
	}
	return answer.Data
}

// errAway is the refusal of what cannot be decided or done now.
var errAway = errors.New("JetStream does not answer at the moment: try again")

// nobodysName is that of no subscriber: these have no capital letters and no _.
var nobodysName = regexp.MustCompile(`^[a-z0-9-]*[A-Z_][A-Za-z0-9_-]*$`)

// nameOf is the name of a consumer that the subject of a request does not tell: a random
// one, unless the request has one that cannot be a subscriber's.
func nameOf(c *jetstream.ConsumerConfig) (string, error) {
	switch {
	case c.Durable != "":
		return "", errors.New("a durable consumer must have its name in the subject of the request")
	case c.Name == "":
		return rand.Text(), nil
	case !nobodysName.MatchString(c.Name):
		return "", errors.New("the name could be another subscriber's: use a random one of letters, digits, - and _, with capital letters or _ in it")
	}
	return c.Name, nil
}

// allow decides on a request. JetStream itself compares the names in it with those of the
// subject.
func (g *Guard) allow(ctx context.Context, subscriber, name string, c *jetstream.ConsumerConfig) error {
	switch {
	case c.DeliverSubject != "" || c.DeliverGroup != "":
		return errors.New("a consumer that sends to a subject is not allowed: pull from it instead")
	case c.MaxWaiting > maxPulls:
		return fmt.Errorf("max_waiting is more than %d", maxPulls)
	case c.Durable != "" && name != subscriber:
		return fmt.Errorf("a durable consumer must have its subscriber's name, %s", subscriber)
	case c.Durable != "":
		return nil
	case name == subscriber:
		return fmt.Errorf("the name %s is for the durable consumer: use a random one, or make it durable", subscriber)
	case len(name) < 8:
		return errors.New("the name could be guessed by another subscriber: use a random one of 8 characters or more")
	case c.InactiveThreshold > maxInactive:
		return fmt.Errorf("inactive_threshold is more than %v", maxInactive)
	}
	count, err := g.count(ctx, subscriber)
	switch {
	case err != nil:
		g.log.Warn("the consumers of a subscriber could not be counted", "subscriber", subscriber, "error", err)
		return errAway
	case count >= maxEphemeral:
		return fmt.Errorf("the subscriber has %d consumers already: delete those that are not needed", count)
	}
	return nil
}

// evict deletes a consumer that is not durable and has the subscriber's name: somebody made
// it before there was the subscriber, whose own would go on where that is.
func (g *Guard) evict(ctx context.Context, subscriber string) error {
	consumer, err := g.conn.js.Consumer(ctx, StreamName, subscriber)
	if err == nil && consumer.CachedInfo().Config.Durable == "" {
		err = g.conn.js.DeleteConsumer(ctx, StreamName, subscriber)
	}
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) { // which JetStream tells then
		return nil
	}
	return err
}

// complete notes whose consumer is made, and has events come in order.
func complete(c *jetstream.ConsumerConfig, subscriber string) {
	if c.Metadata == nil {
		c.Metadata = map[string]string{}
	}
	c.Metadata[subscriberMetadata] = subscriber
	if c.AckPolicy != jetstream.AckNonePolicy && c.MaxAckPending == 0 {
		// JetStream's own default is 1000. Of those that a subscriber has got when it is
		// killed the first come again behind the others, half a minute later.
		c.MaxAckPending = 1
	}
}

// count tells how many consumers a subscriber has that are not durable.
func (g *Guard) count(ctx context.Context, subscriber string) (count int, err error) {
	stream, err := g.conn.js.Stream(ctx, StreamName)
	if err != nil {
		return 0, err
	}
	consumers := stream.ListConsumers(ctx)
	for info := range consumers.Info() {
		if info.Config.Durable == "" && info.Config.Metadata[subscriberMetadata] == subscriber {
			count++
		}
	}
	return count, consumers.Err()
}

// refuse is an answer as JetStream gives it, with its code for a bad request.
func refuse(reason error) []byte {
	answer, err := json.Marshal(map[string]any{
		"type":  "io.nats.jetstream.api.v1.consumer_create_response",
		"error": jetstream.APIError{Code: 400, ErrorCode: 10003, Description: "carelog: " + reason.Error()},
	})
	if err != nil {
		panic(err) // strings and numbers
	}
	return answer
}
