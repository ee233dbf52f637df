FROM eclipse-temurin:17-jre-alpine
VOLUME /tmp
ENV JAVA_OPTS="-Xmx512m -Xms256m"
ARG JAR_FILE=target/*.jar
COPY ${JAR_FILE} app.jar
ENTRYPOINT ["sh", "-c", "java $JAVA_OPTS -jar /app.jar"]
