FROM maven:3.9-openjdk-17 AS build
WORKDIR /work
COPY pom.xml .
RUN mvn dependency:go-offline -B
COPY src ./src
RUN mvn clean package -DskipTests

FROM openjdk:17-jre-slim
RUN addgroup -g 1600 -S spring && adduser -S spring -G spring -u 1600
USER spring:spring
ARG JAR=/work/target/*.jar
COPY --from=build ${JAR} app.jar
ENV JAVA_OPTS="-Xmx64m"
ENTRYPOINT ["sh", "-c", "java $JAVA_OPTS -jar /app.jar"]
