FROM golang:1.23-alpine
RUN go install golang.org/x/tools/cmd/goimports@latest
RUN go install github.com/a/b/cmd/c@v1.2.3 && go install ./...
RUN go run github.com/a/b generate --all
RUN apk add git make
