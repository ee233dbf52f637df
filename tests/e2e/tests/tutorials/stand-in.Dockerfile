# A base that has the tools of many: each does with a shell what a tutorial shows.
FROM busybox AS tools
COPY --chmod=755 <<"npm" <<"node" <<"pip" <<"apk" <<"apt-get" <<"go" <<"mvn" <<"java" <<"useradd" <<"addgroup" /usr/bin/
#!/bin/sh
# npm ci | install | run NAME | start | test
set -e
test -e package.json
case $1 in
  ci) test -e package-lock.json; mkdir -p node_modules; cp package.json node_modules/installed ;;
  install) mkdir -p node_modules; cp package.json node_modules/installed ;;
  run) test -e node_modules/installed; mkdir -p dist; cp server.js dist/server.js ;;
  start) exec node server.js ;;
esac
npm
#!/bin/sh
exec sh "$@"
node
#!/bin/sh
# pip install [--user] -r FILE
set -e
into=/usr/lib/packages
for word; do
  case $word in
    --user) into=$HOME/.local/packages ;;
    *.txt) mkdir -p $into; while read -r name; do echo "$name" > "$into/$name"; done < "$word" ;;
  esac
done
pip
#!/bin/sh
# apk add NAME...: each is a program that runs what it is given
set -e
test "$1" = add || exit 0
shift
for name; do
  case $name in
    -*) ;;
    *) printf '#!/bin/sh\ntest "$1" != -- || shift\nexec "$@"\n' > "/usr/bin/$name"; chmod 755 "/usr/bin/$name" ;;
  esac
done
apk
#!/bin/sh
# apt-get update | install NAME...
set -e
mkdir -p /var/lib/apt/lists
case $1 in
  update) echo list > /var/lib/apt/lists/list ;;
  install) test -e /var/lib/apt/lists/list; shift; apk add "$@" ;;
esac
apt-get
#!/bin/sh
# go mod download | go build -o FILE: a static program
set -e
test -e go.mod
test "$1" = build || exit 0
test "$CGO_ENABLED" = 0
while [ $# -gt 1 ]; do test "$1" = -o && cp /bin/busybox "$2"; shift; done
go
#!/bin/sh
set -e
test -e pom.xml
for goal; do
  case $goal in
    package) mkdir -p target; cat src/*.java > target/app-1.0.jar ;;
  esac
done
mvn
#!/bin/sh
while [ $# -gt 0 ]; do test "$1" = -jar && exec sh "$2"; shift; done
java
#!/bin/sh
# useradd [-m] [-u ID] NAME | adduser -S NAME -u ID [-G GROUP]
set -e
id=1500 group=
while [ $# -gt 0 ]; do
  case $1 in
    -u) id=$2; shift ;;
    -G | -g) group=$2; shift ;;
    -*) ;;
    *) name=$1 ;;
  esac
  shift
done
test -n "$group" || { group=$name; echo "$name:x:$id:" >> /etc/group; }
number=$(grep "^$group:" /etc/group | cut -d: -f3)
echo "$name:x:$id:$number::/home/$name:/bin/sh" >> /etc/passwd
mkdir -p "/home/$name"
chown "$id:$number" "/home/$name"
useradd
#!/bin/sh
# addgroup -g ID -S NAME
set -e
while [ $# -gt 0 ]; do
  case $1 in
    -g) id=$2; shift ;;
    -*) ;;
    *) name=$1 ;;
  esac
  shift
done
echo "$name:x:$id:" >> /etc/group
addgroup
RUN ln -s useradd /usr/bin/adduser && ln -s node /usr/bin/python && mkdir -p /usr/share/nginx/html /etc/nginx
RUN addgroup -g 1400 -S node && adduser -S node -u 1400 -G node
ENV STAND_IN=yes

FROM tools AS nginx
COPY --chmod=755 <<"nginx" /usr/bin/
#!/bin/sh
exec cat /usr/share/nginx/html/index.html
nginx
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
