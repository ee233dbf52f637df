FROM golang:1.21 AS builder
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=linux go build -a -installsuffix cgo \
    -ldflags="-w -s" \
    -o busybox-main .

# Nothing but the program
FROM scratch
COPY --from=builder /src/busybox-main /
EXPOSE 8080
CMD ["/busybox-main", "echo", "alone"]
